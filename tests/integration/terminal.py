"""A pseudo-terminal with a program in it, and what somebody who looks at it sees."""

import codecs
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time

CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """The rows of a terminal after what was written to it. Knows only the codes that graft may use; another one is an error.

    With `reflow`, a change of its width wraps long lines anew, as most terminals do; otherwise it cuts them, as xterm does.
    """

    def __init__(self, columns, reflow):
        self.columns, self.reflow = columns, reflow
        self.rows = [[]]  # Of characters.
        self.continued = [False]  # Rows that are the rest of the one above.
        self.row = self.column = 0
        self.rest = ""  # The beginning of a code.

    def feed(self, text):
        text, self.rest = self.rest + text, ""
        place = 0
        while place < len(text):
            character = text[place]
            if character == "\x1b":
                code = CODE.match(text, place)
                if code is None:
                    self.rest = text[place:]
                    return
                self.apply(code[1], code[2])
                place = code.end()
                continue
            place += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.next_row(False)
            else:
                assert character >= " ", f"unexpected {character!r}"
                self.put(character)

    def apply(self, number, letter):
        if letter == "A":
            self.row = max(0, self.row - int(number or 1))
            return
        assert letter in "KJ" and number in ("", "0"), f"unexpected code {number!r} {letter!r}"
        del self.rows[self.row][self.column:]
        if letter == "J":
            del self.rows[self.row + 1:], self.continued[self.row + 1:]

    def next_row(self, continued):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])
            self.continued.append(continued)

    def put(self, character):
        if self.column == self.columns:
            column, self.column = self.column, 0
            assert column
            self.next_row(True)
        row = self.rows[self.row]
        row.extend(" " * (self.column - len(row)))
        row[self.column:self.column + 1] = [character]
        self.column += 1

    def resize(self, columns):
        if not self.reflow:
            self.columns = columns
            self.rows = [row[:columns] for row in self.rows]
            self.column = min(self.column, columns - 1)
            return
        lines, cursor = [], (0, 0)
        for number, (row, continued) in enumerate(zip(self.rows, self.continued)):
            if not continued:
                lines.append([])
            if number == self.row:
                cursor = (len(lines) - 1, len(lines[-1]) + self.column)
            lines[-1].extend(row)
        self.columns, self.rows, self.continued = columns, [], []
        for number, line in enumerate(lines):
            if number == cursor[0]:
                self.row, self.column = len(self.rows) + cursor[1] // columns, cursor[1] % columns
            for begin in range(0, max(1, len(line)), columns):
                self.rows.append(line[begin:begin + columns])
                self.continued.append(begin > 0)

    def lines(self):
        """The rows as text, those of one wrapped line together, without empty ones at the end."""
        lines = []
        for row, continued in zip(self.rows, self.continued):
            if continued:
                lines[-1] += "".join(row)
            else:
                lines.append("".join(row))
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines


class Terminal:
    """Runs a program in a pseudo-terminal of so many columns and 24 rows."""

    def __init__(self, command, columns=80, reflow=True, **environment):
        self.screen = Screen(columns, reflow)
        self.output = b""
        self.changed = threading.Condition()
        self.ended = False
        self.master, slave = os.openpty()
        self.set_size(columns)
        variables = {name: value for name, value in os.environ.items() if name not in ("TERM", "LC_ALL", "LC_CTYPE", "LANG")}
        variables.update({"TERM": "xterm", "LC_ALL": "C.UTF-8"})
        variables.update(environment)
        variables = {name: str(value) for name, value in variables.items() if value is not None}
        # In a session of its own, of which this is the terminal: or neither Ctrl-C nor a new size would be heard.
        self.process = subprocess.Popen(["setsid", "--ctty", *map(str, command)], stdin=slave, stdout=slave, stderr=slave, env=variables)
        os.close(slave)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def set_size(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # Nobody has the other end any more.
                piece = b""
            with self.changed:
                self.output += piece
                self.ended = not piece
                self.screen.feed(decoder.decode(piece))
                self.changed.notify_all()
            if not piece:
                return

    def resize(self, columns):
        """The window first, then the program: as a terminal does it."""
        with self.changed:
            self.screen.resize(columns)
            self.set_size(columns)

    def wait_for(self, condition, what, seconds=60):
        """Blocks until the screen's lines are as `condition` wants them; returns them."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition(self.screen.lines()):
                left = deadline - time.monotonic()
                assert left > 0 and not self.ended, f"{what}: " + "\n".join(self.screen.lines())
                self.changed.wait(left)
            return self.screen.lines()

    def wait_for_last(self, pattern, seconds=60):
        """Blocks until the last line is `pattern`; returns the lines before it."""
        return self.wait_for(lambda lines: lines and re.fullmatch(pattern, lines[-1]), pattern, seconds)[:-1]

    def type(self, text):
        os.write(self.master, text.encode())

    def finish(self):
        """Waits for the program's end; returns its code and the last lines."""
        code = self.process.wait(timeout=120)
        self.reader.join()
        os.close(self.master)
        return code, self.screen.lines()

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.finish()
