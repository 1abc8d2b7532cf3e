"""Private parts of `default_tools`."""
