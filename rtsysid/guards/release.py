"""State the version of this release, for modules that the package's face imports."""

VERSION = "0.1.0"
