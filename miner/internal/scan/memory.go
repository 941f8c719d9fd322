package scan

import "unsafe"

// aligned returns n zeroed values of T whose first has an address that is a
// multiple of 64. T holds no pointers.
func aligned[T any](n int) []T {
	size := int(unsafe.Sizeof(*new(T)))
	buffer := make([]byte, n*size+63)
	skip := -uintptr(unsafe.Pointer(&buffer[0])) & 63
	return unsafe.Slice((*T)(unsafe.Pointer(&buffer[skip])), n)
}
