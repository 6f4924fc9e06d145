/// What the Python scripts of these tests begin with, and `when_blocked` for one.
enum PythonHelp {
  /// The names of errnos; whether a thread waits in the kernel, and where; and an action for the moment when the main thread waits
  /// in poll, epoll or select, so that it is woken and not found to be ready.
  static let begin = """
    import ctypes, errno, fcntl, os, select, signal, sys, threading, time

    def attempt(action, *arguments):
        try: return action(*arguments)
        except OSError as e: return errno.errorcode[e.errno]

    def where(thread):
        with open(f"/proc/self/task/{thread}/wchan") as file: return file.read()

    def until(condition):
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end: raise TimeoutError("until")
            time.sleep(0.002)

    def when_blocked(action, *arguments):
        main = threading.main_thread().native_id
        def run():
            until(lambda: "poll" in where(main) or "select" in where(main))
            action(*arguments)
        threading.Thread(target=run, daemon=True).start()

    def put(path, text):
        with open(path, "w") as file: file.write(text + "\\n")

    """
}
