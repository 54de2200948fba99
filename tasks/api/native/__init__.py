"""The native API: resources under /api/v1/, problem documents for errors, pages for browsers."""
