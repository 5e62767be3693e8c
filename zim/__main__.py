"""`python -m zim` is the command `zim`."""

from zim.cli import app

if __name__ == "__main__":
    app(prog_name="zim")
