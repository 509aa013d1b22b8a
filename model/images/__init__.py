"""Image files: their headers, checked before any decoder runs, and their pixels."""
