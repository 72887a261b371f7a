"""Who receives mail here (the whitelist, behind C{IDirectory}) and who may log in (the users file)."""
