"""Does an export answer as the model does?"""
