/// Why a path is not opened: an errno for the caller's system call and a text for a person.
public struct Objection: Error, Sendable, Equatable {
  public let errno: Int32
  public let text: String

  public init(_ errno: Int32, _ text: String) {
    self.errno = errno
    self.text = text
  }
}
