"""What every other package may use: errors, the bundle's format, atomic files, progress."""
