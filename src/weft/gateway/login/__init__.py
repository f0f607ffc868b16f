"""Who a caller is: tokens of an OpenID Connect provider, login on the page, local accounts, client certificates.

Here belongs how an identity is shown and checked. Not what the identity may do: roles, scopes and API keys are in
:mod:`weft.gateway.access`, which asks the sources of this package.
"""
