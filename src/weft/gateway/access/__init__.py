"""Who may come in: what shows who a caller is, which roles that gives, what a route asks for, and the record of it all.

Here belong API keys, roles, the check of routes, and the audit log. Not the accounts and tokens of people
(``gateway.login``), which plug in as a :class:`~weft.gateway.access.source.Source`; and nothing of what a request asks for.
"""
