"""Where adapters' weights are: on the device, in the host's memory, on disk, or still in the store.

A request wants its adapters as soon as it is accepted (`loading`); they are fetched, decoded and staged beside the
device's thread (`fetching`, `reading`, `disk`, `host`) and take places on the device (`device`, `places`), where they
stay as long as their leases are held. `switching` decides when a reference goes over to a new version.
"""
