import FaultKit
import Testing

@Suite("Go's poller")
struct GoWaitTests {
  /// Reads `wait` in fifty goroutines, and with a deadline in the first.
  static let program = """
    package main

    import (
    	"errors"
    	"fmt"
    	"io"
    	"os"
    	"strings"
    	"sync"
    	"time"
    )

    func main() {
    	early, err := os.Open(os.Args[1] + "/wait")
    	if err == nil {
    		err = early.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
    	}
    	if err == nil {
    		_, err = io.ReadAll(early)
    	}
    	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
    	var readers, opened sync.WaitGroup
    	texts := make([]string, 50)
    	for index := range texts {
    		readers.Add(1)
    		opened.Add(1)
    		go func(index int) {
    			defer readers.Done()
    			file, err := os.Open(os.Args[1] + "/wait")
    			opened.Done()
    			if err == nil {
    				var text []byte
    				text, err = io.ReadAll(file)
    				texts[index] = string(text)
    			}
    			if err != nil {
    				fmt.Println(err)
    			}
    		}(index)
    	}
    	opened.Wait()
    	fmt.Println("waiting")
    	readers.Wait()
    	count := 0
    	for _, text := range texts {
    		if strings.HasPrefix(text, "state=done\\n") {
    			count++
    		}
    	}
    	fmt.Println(count)
    }

    """

  @Test("Fifty goroutines wait without a thread each, and a read's deadline passes")
  func goroutines() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("main.go", Array(Self.program.utf8))
      try run("gccgo", "-o", bench.disk + "/reader", source).orThrow()
      let held = try HeldJob(bench, daemon)
      let reader = try Command(bench.disk + "/reader", [held.job.path]).start()
      try eventually(within: .seconds(20), "all wait: \(reader.errorText)") { reader.text.contains("waiting") }
      #expect(try Files.names(in: "/proc/\(reader.pid)/task").count <= 25)
      #expect(reader.text == "true\nwaiting\n")
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "true\nwaiting\n50\n")
    }
  }
}
