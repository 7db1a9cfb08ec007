"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Wrong input; the message names the file or field, the rule and the value found."""
