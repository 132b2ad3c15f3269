"""A window with an entry. What happens to it is written to the file that is named, line by line."""

import sys
import tkinter

log = open(sys.argv[1], "w", buffering=1)
root = tkinter.Tk()
root.title("Conformance")
root.geometry("320x160+200+150")
entry = tkinter.Entry(root)
entry.pack(fill="x")
canvas = tkinter.Canvas(root, background="#2060a0", highlightthickness=0)
canvas.pack(fill="both", expand=True)
moves = 0


def press(event):
    global moves
    moves = 0
    print("press", event.num, event.x_root, event.y_root, file=log)


def motion(_):
    global moves
    moves += 1


def release(event):
    print("release", event.num, event.x_root, event.y_root, "dragged" if moves > 1 else "still", file=log)


canvas.bind("<ButtonPress>", press)
canvas.bind("<B1-Motion>", motion)
canvas.bind("<ButtonRelease>", release)
canvas.bind("<Double-Button-1>", lambda _: print("double", file=log))
entry.bind("<FocusIn>", lambda _: print("focus in", file=log))
entry.bind("<FocusOut>", lambda _: print("focus out", file=log))
entry.bind("<ButtonRelease>", lambda _: print("entry", file=log))
entry.bind("<Return>", lambda _: print("typed", ascii(entry.get()), file=log))
entry.bind("<Control-Key-k>", lambda _: print("chord", file=log))
entry.bind("<F5>", lambda _: print("key", file=log))
root.update()
entry.focus_force()
print("ready", file=log)
root.mainloop()
