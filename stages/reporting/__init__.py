"""The report: its tables, charts and page, and the server for what does not fit into a page."""
