"""Delivery to other hosts: routes, mail servers, TLS, connections."""
