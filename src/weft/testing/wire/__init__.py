"""What ``docs/spec/microservice.md`` promises of a service on the wire, as checks: sections 1 to 7.

Here belongs what can only be seen in bytes: routes, statuses, headers, framing, streams. What a contract promises of its
replies is in ``promises``, and is checked over HTTP with the transport that calls services in earnest.
"""
