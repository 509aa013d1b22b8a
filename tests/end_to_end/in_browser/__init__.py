"""The page in a real browser. A package for pytest, which closes the browser after the last of these tests."""
