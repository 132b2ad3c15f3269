"""A window for tests: 300×200 at 100,100, red; what happens to it is written to the file that is named, line by line."""

import sys
import tkinter

log = open(sys.argv[1], "w", buffering=1)
root = tkinter.Tk()
root.title("Probe é漢")
root.geometry("300x200+100+100")
canvas = tkinter.Canvas(root, background="#ff0000", highlightthickness=0, cursor="crosshair")
canvas.pack(fill="both", expand=True)
state = {"moves": 0}


def press(event):
    state["moves"] = 0
    print("press", event.num, event.x_root, event.y_root, event.state & 0x0D, file=log)
    if event.num == 1:
        canvas.configure(background="#00ff00")


def release(event):
    print("release", event.num, event.x_root, event.y_root, "dragged" if state["moves"] > 3 else "still", file=log)


def motion(event):
    state["moves"] += 1


canvas.bind("<ButtonPress>", press)
canvas.bind("<ButtonRelease>", release)
canvas.bind("<B1-Motion>", motion)
canvas.bind("<Double-Button-1>", lambda event: print("double", file=log))
root.bind("<KeyPress>", lambda event: print("key", event.keysym, event.state & 0x4D, file=log))
root.bind("<KeyRelease-Shift_L>", lambda event: print("up", event.keysym, file=log))
root.update()
canvas.focus_force()
print("ready", file=log)
root.mainloop()
