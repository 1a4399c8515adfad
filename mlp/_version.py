"""The version, which the package's metadata, files and reports take from here."""

__version__ = "0.2.0"
