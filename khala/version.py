"""The one version number; packaging, `--version`, Hello messages and the UI read it from here."""

VERSION = "0.1.0"
