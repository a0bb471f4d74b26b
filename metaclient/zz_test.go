package metaclient_test
import ("testing";"time";"fmt";"strings";"k8s.io/apimachinery/pkg/api/resource")
func TestZZ(t *testing.T){
 for _,s:=range []string{"1e2000000000","0e2000000000","1e-2000000000","12345678901234567890e2000000000","1e20000","123456789012345678e2000000000",strings.Repeat("9",100000),"1"+strings.Repeat("0",100000), strings.Repeat("9",1000000)+"e9", strings.Repeat("9",58)+"e-999","."+strings.Repeat("9",58)+"e999","0e999","1e99999"}{
  done:=make(chan string)
  go func(){
   st:=time.Now()
   q,err:=resource.ParseQuantity(s)
   r:=fmt.Sprint("parse ",time.Since(st)," ",err!=nil)
   done<-r
   if err!=nil {return}
   st=time.Now(); x:=len(q.String()); done<-fmt.Sprint("string ",time.Since(st),x)
   st=time.Now(); q.Value(); done<-fmt.Sprint("value ",time.Since(st))
   st=time.Now(); q.AsApproximateFloat64(); done<-fmt.Sprint("f64 ",time.Since(st))
   st=time.Now(); q.Cmp(resource.MustParse("1")); done<-fmt.Sprint("cmp ",time.Since(st))
  }()
  fmt.Printf("%.30s: ",s)
  loop: for i:=0;i<5;i++{ select{case r:=<-done: fmt.Print(r,"; ");case <-time.After(3*time.Second): fmt.Print("HANG"); break loop}}
  fmt.Println()
 }
}
