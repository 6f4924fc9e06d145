/// A script that runs with mounts of its own; nobody else sees what it mounts.
public func privateMounts(_ script: String) -> Command {
  // Copies of what other tests have mounted would keep it busy when they unmount it.
  let leave = """
    tac /proc/self/mountinfo | cut -d ' ' -f 5 | grep -F /kcopyfs-test. | while read -r place; do umount -l "$(printf %b "$place")" || true; done

    """
  return Command("unshare", ["-m", "bash", "-c", "exec 3>&1 >/dev/null 2>&1\n\(leave)exec >&3 3>&- 2>&1\nset -e\n" + script])
}
