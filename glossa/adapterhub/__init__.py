"""AdapterHub folders in and out, on the user's own machine: `glossa import adapterhub` and `glossa export adapterhub`.

Import: `download` where a hub name is given, `folders` reads, `choices` decides what the folder is and for which
backbone, `importing` makes a manifest and weights, which the registry publishes like any other. Export goes back.
"""
