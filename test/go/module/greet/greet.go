// Package greet has a dependency from the module proxy and a test.
package greet

import "rsc.io/quote"

// Greeting is a greeting.
func Greeting() string { return quote.Hello() }
