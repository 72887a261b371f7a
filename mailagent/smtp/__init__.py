"""The wire: grammar, content, session, sender. No policy lives here."""
