"""The campaign of ``scripts/soak``: subjects that try to break splade-bridge, for as long as told.

``frame.py`` goes round over the subjects until the time is over; ``subjects.py`` names them.
``processes.py`` runs commands that can be killed, ``commands.py`` knows commands and what they
must leave behind; the other modules are a subject each.
"""
