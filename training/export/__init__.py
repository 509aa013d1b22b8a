"""The files that other programs read, a module a format. Each writes the file, then runs it beside the net."""
