"""Where the weights of a checkpoint are: in which files, in which set of a file, under which prefix."""
