"""The paper's tables, and what a reproduction of them measured."""
