"""Files to records, whatever the layout: tables, JSON, images, answers."""
