"""Jenkins over HTTP: the filters, the pages and the routes in front of the model."""
