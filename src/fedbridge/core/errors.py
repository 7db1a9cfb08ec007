"""The exceptions that mean: the user can mend this."""


class UserError(Exception):
    """Wrong input; the message names the file or field, the rule and the value found."""


class UnavailableError(UserError):
    """Nothing is wrong with the settings, but the data or a model that they name cannot be had."""


class CommonConfigError(UserError):
    """The common config is refused; the message says nothing of what lies at a site."""
