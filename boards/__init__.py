"""Boards: what is known of each (``profile``), checks (``doctor``), installation (``deploy``), emulation (``twin``)."""
