"""Every route of the Ask lane."""

from workers.ask.codecs import moderations

ROUTES = (moderations.ROUTE,)
