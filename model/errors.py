"""The base of all errors that a user can cause and mend."""


class UserError(ValueError):
    """An error in what a user gave: a file, an option, a setting. The message says what is wrong and what is accepted.

    Commands report it in one line. Every other exception is a bug and shows its traceback.
    """


class WeightsError(UserError):
    """A weights file that cannot be used; the message names the file and says what is wrong."""
