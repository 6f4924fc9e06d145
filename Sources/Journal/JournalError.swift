/// Why the state directory cannot be used.
public struct JournalError: Error, Sendable, Equatable {
  public let text: String

  public init(_ text: String) { self.text = text }
}
