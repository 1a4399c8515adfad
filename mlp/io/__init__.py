"""What enters and leaves: files of networks, folders of runs, networks of other libraries, and facts of the machine."""
