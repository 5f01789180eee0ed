// Checklog reads a log's folder with Go's own sumdb packages: the checkpoint by golang.org/x/mod/sumdb/note, tiles
// and proofs by golang.org/x/mod/sumdb/tlog. It prints the log's size, or says what is wrong and ends with 1.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type folder string

func (f folder) Height() int { return height }

func (f folder) path(t tlog.Tile) string {
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	level := strconv.Itoa(t.L)
	if t.L == -1 {
		level = "entries"
	}
	path := filepath.Join(string(f), "tile", level, n)
	if t.W != 1<<height {
		path = fmt.Sprintf("%s.p/%d", path, t.W)
	}
	return path
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(f.path(t))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) entries(size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := min(256, size-n*256)
		data, err := os.ReadFile(f.path(tlog.Tile{H: height, L: -1, N: n, W: int(width)}))
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			length := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	return all, nil
}

func check(dir, vkey string) (int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return 0, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return 0, err
	}
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		return 0, fmt.Errorf("the checkpoint is of %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, err
	}
	var root tlog.Hash
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || copy(root[:], hash) != len(root) {
		return 0, fmt.Errorf("the root is no hash")
	}
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, folder(dir))
	entries, err := folder(dir).entries(size)
	if err != nil {
		return 0, err
	}
	if int64(len(entries)) != size {
		return 0, fmt.Errorf("%d entries, not %d", len(entries), size)
	}
	for at, entry := range entries {
		proof, err := tlog.ProveRecord(size, int64(at), reader)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, size, root, int64(at), tlog.RecordHash(entry)); err != nil {
			return 0, fmt.Errorf("entry %d: %v", at, err)
		}
	}
	return size, nil
}

func main() {
	size, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(size)
}
