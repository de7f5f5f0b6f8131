"""One module a page; a flow's page is named after the flow."""
