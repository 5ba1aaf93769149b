"""eventsam: event-camera vision trained, swept and compared on a Ray cluster."""
