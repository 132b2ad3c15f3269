"""A form for tests: an entry, or a slider, and a button. What was entered goes to the file that is named."""

import os
import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gtk  # noqa: E402

title, kind, out = sys.argv[1:]
with open(out + ".pid", "w") as file:
    print(os.getpid(), file=file)

window = Gtk.Window(title=title)
window.connect("destroy", Gtk.main_quit)
box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, border_width=12)
entry = Gtk.Entry(width_chars=40)
scale = Gtk.Scale.new_with_range(Gtk.Orientation.HORIZONTAL, 0, 100, 1)
button = Gtk.Button(label="OK")


def done(_):
    with open(out, "w") as file:
        print(entry.get_text() if kind == "entry" else int(scale.get_value()), file=file)
    Gtk.main_quit()


entry.connect("activate", done)
button.connect("clicked", done)
box.add(entry if kind == "entry" else scale)
box.add(button)
window.add(box)
window.show_all()
Gtk.main()
