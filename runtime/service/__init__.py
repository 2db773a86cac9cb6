"""The camera service: cameras, scheduler, events, the log and the console's questions."""
