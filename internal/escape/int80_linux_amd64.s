#include "textflag.h"

// func int80raw(number uintptr) (result int32)
TEXT ·int80raw(SB), NOSPLIT, $0-12
	MOVQ number+0(FP), AX
	INT  $0x80
	MOVL AX, result+8(FP)
	RET
