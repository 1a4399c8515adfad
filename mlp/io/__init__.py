"""Input and output: model files, run folders, networks of other libraries, and information about the machine."""
