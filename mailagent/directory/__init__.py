"""Who receives mail here: the whitelist, behind C{IDirectory}."""
