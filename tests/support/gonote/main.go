// Gonote does with Go's own signed notes what tests compare ours with.
//
//	gonote verify KEY...   reads a note on stdin, prints its text
//	gonote sign KEY        reads a text on stdin, prints it as a note
package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, keys []string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if command == "sign" {
		signer, err := note.NewSigner(keys[0])
		if err != nil {
			return err
		}
		signed, err := note.Sign(&note.Note{Text: string(input)}, signer)
		os.Stdout.Write(signed)
		return err
	}
	var verifiers []note.Verifier
	for _, key := range keys {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open(input, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	fmt.Print(opened.Text)
	return nil
}
