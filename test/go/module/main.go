// Command hello is built by the tests of Go's cache.
package main

import (
	"fmt"

	"stowhouse.test/hello/greet"
)

func main() { fmt.Println(greet.Greeting()) }
