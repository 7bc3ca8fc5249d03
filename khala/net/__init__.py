"""HTTP as Khala speaks it: the server both sides embed, the client of the RPC, who may ask."""
